# Requests to the allocator pass through the test, which does nothing under sanitizers.
if(TARGET test_out_of_memory AND NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  target_link_options(test_out_of_memory PRIVATE
                      "LINKER:--wrap=_ZN6tandem6detail13allocate_slowEm"
                      "LINKER:--wrap=_ZN6tandem6detail10take_blockEm")
endif()
