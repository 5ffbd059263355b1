# The judge of random programs, see tests/five_ways/README.md.
file(GLOB TANDEM_FIVE_WAYS CONFIGURE_DEPENDS "${CMAKE_CURRENT_LIST_DIR}/five_ways/*.cpp")
list(FILTER TANDEM_FIVE_WAYS EXCLUDE REGEX "/main\\.cpp$")
# The names of the records' structs in the order of the table: what a printed program calls them.
set(structs "${PROJECT_BINARY_DIR}/tandem_gen/op_structs.gen.cpp")
list(JOIN TANDEM_OPS "," names)
file(
  CONFIGURE
  OUTPUT "${structs}"
  CONTENT "#include \"tests/five_ways/catalogue.h\"\n\nconst char* tandem::five_ways::op_structs() {
  return \"${names}\";\n}\n"
  @ONLY)
add_library(tandem_five_ways STATIC ${TANDEM_FIVE_WAYS} "${structs}")
target_link_libraries(tandem_five_ways PUBLIC ${TANDEM_TEST_LINK})
target_include_directories(tandem_five_ways SYSTEM PUBLIC "${TANDEM_JSON_INCLUDE}")
set_target_properties(tandem_five_ways PROPERTIES CXX_EXTENSIONS OFF)

add_executable(five_ways "${CMAKE_CURRENT_LIST_DIR}/five_ways/main.cpp")
target_link_libraries(five_ways PRIVATE tandem_five_ways)
set_target_properties(
  five_ways PROPERTIES CXX_EXTENSIONS OFF RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
target_link_libraries(test_five_ways_checks PRIVATE tandem_five_ways)
