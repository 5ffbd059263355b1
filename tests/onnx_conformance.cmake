# The program that tests/onnx_conformance/run.sh gives ONNX's own conformance cases.
add_executable(onnx_conformance
               "${CMAKE_CURRENT_LIST_DIR}/onnx_conformance/onnx_conformance.cpp")
target_link_libraries(onnx_conformance PRIVATE ${TANDEM_TEST_LINK})
set_target_properties(
  onnx_conformance PROPERTIES CXX_EXTENSIONS OFF
                              RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
