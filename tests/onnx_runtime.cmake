# The program whose models tests/onnx_runtime/run.sh gives to ONNX Runtime, and that runs others'.
add_executable(onnx_graphs "${CMAKE_CURRENT_LIST_DIR}/onnx_runtime/onnx_graphs.cpp")
target_link_libraries(onnx_graphs PRIVATE ${TANDEM_TEST_LINK})
set_target_properties(
  onnx_graphs PROPERTIES CXX_EXTENSIONS OFF RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
