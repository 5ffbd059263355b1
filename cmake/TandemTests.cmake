# Each tests/*.cpp is one GoogleTest program and one ctest entry; its cases are counted from the
# JSON report that it writes into the build folder's test_reports/. A line `// ctest: shards 4` in
# the source splits a long one into four entries that run side by side.
find_package(GTest)
if(NOT GTest_FOUND)
  message(STATUS "Tandem: GoogleTest (Debian: libgtest-dev) not found, the tests are left out")
  return()
endif()

if(BUILD_SHARED_LIBS)
  tandem_add_library(tandem_testing STATIC)
else()
  add_library(tandem_testing ALIAS tandem)
endif()

file(GLOB TANDEM_TESTS CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/*.cpp")
file(GLOB TANDEM_TEST_SUPPORT CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/support/*.cpp")
set(TANDEM_REPORTS "${PROJECT_BINARY_DIR}/test_reports")

add_library(tandem_test_base INTERFACE)
target_include_directories(tandem_test_base INTERFACE "${PROJECT_SOURCE_DIR}")
target_link_libraries(tandem_test_base INTERFACE tandem_testing tandem_warnings GTest::gtest_main
                                                 Tandem::dnnl OpenMP::OpenMP_CXX ZLIB::ZLIB)
target_compile_definitions(
  tandem_test_base INTERFACE TANDEM_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                             TANDEM_BINARY_DIR="${PROJECT_BINARY_DIR}")
if(TANDEM_TEST_SUPPORT)
  add_library(tandem_test_support STATIC ${TANDEM_TEST_SUPPORT})
  target_link_libraries(tandem_test_support PUBLIC tandem_test_base)
  set(TANDEM_TEST_LINK tandem_test_support)
else()
  set(TANDEM_TEST_LINK tandem_test_base)
endif()

set(TANDEM_TEST_ENVIRONMENT OMP_WAIT_POLICY=passive)
if(CMAKE_CXX_FLAGS MATCHES "sanitize=thread")
  # The sanitizer sees the joins of a parallel region only through libomp's tool Archer, and oneDNN
  # must then use the same runtime: a link named libgomp.so.1 gives it libomp, which has both ABIs.
  # Races inside the uninstrumented oneDNN are not ours to report.
  get_filename_component(omp "${OpenMP_omp_LIBRARY}" REALPATH)
  get_filename_component(omp_folder "${omp}" DIRECTORY)
  if(NOT EXISTS "${omp_folder}/libarcher.so")
    message(FATAL_ERROR "the thread sanitizer needs clang with libomp and its libarcher.so "
                        "(Debian: clang libomp-dev); not found beside ${omp}")
  endif()
  file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/omp")
  file(CREATE_LINK "${omp}" "${PROJECT_BINARY_DIR}/omp/libgomp.so.1" SYMBOLIC)
  list(APPEND TANDEM_TEST_ENVIRONMENT "OMP_TOOL_LIBRARIES=${omp_folder}/libarcher.so"
       "LD_LIBRARY_PATH=${PROJECT_BINARY_DIR}/omp" "TSAN_OPTIONS=ignore_noninstrumented_modules=1")
endif()

foreach(source IN LISTS TANDEM_TESTS)
  get_filename_component(name "${source}" NAME_WE)
  set(target test_${name})
  add_executable(${target} "${source}")
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name} CXX_EXTENSIONS OFF
                                             RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
  target_link_libraries(${target} PRIVATE ${TANDEM_TEST_LINK})
  set(shards 1)
  file(STRINGS "${source}" line REGEX "^// ctest: shards [0-9]+$")
  if(line)
    string(REGEX REPLACE ".* " "" shards "${line}")
  endif()
  math(EXPR last "${shards} - 1")
  foreach(shard RANGE ${last})
    set(entry ${name})
    if(shards GREATER 1)
      set(entry ${name}_${shard})
    endif()
    add_test(NAME ${entry} WORKING_DIRECTORY "${PROJECT_BINARY_DIR}/tests"
             COMMAND ${target} --gtest_output=json:${TANDEM_REPORTS}/${entry}.json)
    set(environment ${TANDEM_TEST_ENVIRONMENT} "GTEST_TOTAL_SHARDS=${shards}"
                    "GTEST_SHARD_INDEX=${shard}")
    set_tests_properties(${entry} PROPERTIES TIMEOUT 900 LABELS gtest
                                             ENVIRONMENT "${environment}")
  endforeach()
endforeach()

# Script tests: tests/NAME.sh and tests/NAME/run.sh. They end with exit code 77 to be skipped, after
# a line that says why, and may close with a line `N passed, N failed, N skipped`.
file(GLOB TANDEM_SCRIPTS CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/*.sh"
     "${PROJECT_SOURCE_DIR}/tests/*/run.sh")
foreach(script IN LISTS TANDEM_SCRIPTS)
  get_filename_component(name "${script}" NAME_WE)
  if(name STREQUAL "run")
    get_filename_component(folder "${script}" DIRECTORY)
    get_filename_component(name "${folder}" NAME)
  endif()
  add_test(NAME ${name} COMMAND bash "${script}" WORKING_DIRECTORY "${PROJECT_BINARY_DIR}")
  set(environment
      "TANDEM_SOURCE=${PROJECT_SOURCE_DIR};TANDEM_BUILD=${PROJECT_BINARY_DIR}"
      "TANDEM_PYTHON=${PROJECT_SOURCE_DIR}/build/venv/bin/python"
      "TANDEM_CCACHE=${TANDEM_CCACHE};OMP_WAIT_POLICY=passive")
  set_tests_properties(${name} PROPERTIES TIMEOUT 1200 LABELS script SKIP_RETURN_CODE 77
                                          ENVIRONMENT "${environment}")
endforeach()

# Tests of another shape, such as the examples' last numbers: tests/NAME.cmake.
file(GLOB TANDEM_TEST_LISTS CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/*.cmake")
foreach(list IN LISTS TANDEM_TEST_LISTS)
  include("${list}")
endforeach()

include(TandemFuzz)
include(TandemCuda)
