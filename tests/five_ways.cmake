# The judge of random programs, see tests/five_ways/README.md; run.sh there runs a fixed set of
# them.
file(GLOB TANDEM_FIVE_WAYS CONFIGURE_DEPENDS "${CMAKE_CURRENT_LIST_DIR}/five_ways/*.cpp")
add_executable(five_ways ${TANDEM_FIVE_WAYS})
target_link_libraries(five_ways PRIVATE ${TANDEM_TEST_LINK})
target_include_directories(five_ways SYSTEM PRIVATE "${TANDEM_JSON_INCLUDE}")
# The names of the records' structs in the order of the table: what a printed program calls them.
list(JOIN TANDEM_OPS "," TANDEM_OP_STRUCTS)
target_compile_definitions(five_ways PRIVATE "TANDEM_OP_STRUCTS=\"${TANDEM_OP_STRUCTS}\"")
set_target_properties(
  five_ways PROPERTIES CXX_EXTENSIONS OFF RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
