# Finds what libtandem links. The build uses it, and so does an installed static library.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(ZLIB REQUIRED)

# Debian's own dnnl-config.cmake asks for OpenCL, which the CPU engine does not need.
if(NOT TARGET Tandem::dnnl)
  find_library(TANDEM_DNNL_LIBRARY NAMES dnnl)
  find_path(TANDEM_DNNL_INCLUDE oneapi/dnnl/dnnl.hpp)
  mark_as_advanced(TANDEM_DNNL_LIBRARY TANDEM_DNNL_INCLUDE)
  if(NOT TANDEM_DNNL_LIBRARY OR NOT TANDEM_DNNL_INCLUDE)
    message(FATAL_ERROR "Tandem needs oneDNN 2.6 or newer: the library `dnnl` and the header "
                        "oneapi/dnnl/dnnl.hpp were not found (Debian: libdnnl-dev)")
  endif()
  add_library(Tandem::dnnl UNKNOWN IMPORTED)
  set_target_properties(Tandem::dnnl PROPERTIES IMPORTED_LOCATION "${TANDEM_DNNL_LIBRARY}"
                                                INTERFACE_INCLUDE_DIRECTORIES
                                                "${TANDEM_DNNL_INCLUDE}")
endif()
