# Each tests/fuzz/NAME.cpp defines LLVMFuzzerTestOneInput; its seeds lie in tests/fuzz/corpus/NAME.
# With TANDEM_FUZZ (clang) it is a libFuzzer program; without, a small main replays the seeds and
# mutants of them for some seconds, with any compiler.
file(GLOB TANDEM_FUZZERS CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/fuzz/*.cpp")
if(TANDEM_FUZZ AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "TANDEM_FUZZ needs clang: cmake --preset fuzz")
endif()
foreach(source IN LISTS TANDEM_FUZZERS)
  get_filename_component(name "${source}" NAME_WE)
  set(corpus "${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name}")
  set(work "${PROJECT_BINARY_DIR}/tests/fuzz_${name}_work")
  file(MAKE_DIRECTORY "${work}")
  add_executable(fuzz_${name} "${source}")
  target_link_libraries(fuzz_${name} PRIVATE tandem_testing tandem_warnings Tandem::dnnl
                                             OpenMP::OpenMP_CXX ZLIB::ZLIB)
  set_target_properties(fuzz_${name} PROPERTIES CXX_EXTENSIONS OFF RUNTIME_OUTPUT_DIRECTORY
                                                                   "${PROJECT_BINARY_DIR}/tests")
  if(TANDEM_FUZZ)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    file(MAKE_DIRECTORY "${work}/found")
    add_test(NAME fuzz_${name} WORKING_DIRECTORY "${work}"
             COMMAND fuzz_${name} -max_total_time=20 -rss_limit_mb=1024 found "${corpus}")
  else()
    target_sources(fuzz_${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests/fuzz/support/replay.cpp")
    add_test(NAME fuzz_${name} WORKING_DIRECTORY "${work}" COMMAND fuzz_${name} "${corpus}")
  endif()
  set_tests_properties(fuzz_${name} PROPERTIES TIMEOUT 300 LABELS gtest ENVIRONMENT
                                                                      "${TANDEM_TEST_ENVIRONMENT}")
endforeach()
