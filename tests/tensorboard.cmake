# The program whose event files tests/tensorboard/run.sh gives to the real tensorboard.
add_executable(tensorboard_events "${CMAKE_CURRENT_LIST_DIR}/tensorboard/events.cpp")
target_link_libraries(tensorboard_events PRIVATE ${TANDEM_TEST_LINK})
set_target_properties(
  tensorboard_events PROPERTIES CXX_EXTENSIONS OFF
                                RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
