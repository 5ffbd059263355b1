# The program that tests/onnx_format/run.sh compares with the onnx package.
add_executable(onnx_format "${CMAKE_CURRENT_LIST_DIR}/onnx_format/onnx_format.cpp")
target_link_libraries(onnx_format PRIVATE ${TANDEM_TEST_LINK})
set_target_properties(
  onnx_format PROPERTIES CXX_EXTENSIONS OFF RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
