# The shared kernel bodies also compile for CUDA. One generated NAME.gen.cu an op file instantiates
# them; nothing is linked or run. Target tandem_cuda_check; ctest runs it as `cuda_kernels`.
find_program(TANDEM_NVCC nvcc HINTS /usr/local/cuda/bin)
mark_as_advanced(TANDEM_NVCC)
set(have_nvcc OFF)
if(TANDEM_NVCC)
  set(have_nvcc ON)
endif()
option(TANDEM_CUDA_CHECK "Compile the shared kernel bodies for CUDA as a test" ${have_nvcc})
set(TANDEM_CUDA_HEADER "${PROJECT_SOURCE_DIR}/tandem/op/kernel_cuda.h")
if(NOT TANDEM_CUDA_CHECK OR NOT EXISTS "${TANDEM_CUDA_HEADER}" OR NOT
                            (TANDEM_OP_POINT OR TANDEM_OP_ROW))
  return()
endif()

set(stems "")
foreach(kind IN ITEMS POINT ROW)
  string(TOLOWER ${kind} kernel)
  foreach(pair IN LISTS TANDEM_OP_${kind})
    string(REPLACE ":" ";" pair "${pair}")
    list(GET pair 0 stem)
    list(GET pair 1 op)
    list(APPEND stems "${stem}")
    foreach(type IN ITEMS float double)
      string(APPEND text_${stem}
             "template void* keep<tandem::cuda::${kernel}_kernel<tandem::${op}, ${type}>>();\n")
    endforeach()
  endforeach()
endforeach()
list(REMOVE_DUPLICATES stems)

set(objects "")
foreach(stem IN LISTS stems)
  set(source "${PROJECT_BINARY_DIR}/tandem_gen/${stem}.gen.cu")
  set(object "${PROJECT_BINARY_DIR}/tandem_gen/${stem}.gen.o")
  set(text "#include \"tandem/op/kernel_cuda.h\"\n#include \"tandem/ops/${stem}.h\"\n\n")
  string(APPEND text "// The address of a kernel instantiates it, whatever its arguments are.\n"
                     "template <auto kernel>\nvoid* keep() {\n"
                     "  return reinterpret_cast<void*>(kernel);\n}\n\n${text_${stem}}")
  file(CONFIGURE OUTPUT "${source}" CONTENT "${text}" @ONLY)
  add_custom_command(
    OUTPUT "${object}"
    COMMAND "${TANDEM_NVCC}" -std=c++20 -O1 --expt-relaxed-constexpr
            -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90
            -I "${PROJECT_SOURCE_DIR}" -MD -MF "${object}.d" -c "${source}" -o "${object}"
    DEPENDS "${source}"
    DEPFILE "${object}.d"
    COMMENT "CUDA sm_80 sm_90: ${stem}"
    VERBATIM)
  list(APPEND objects "${object}")
endforeach()
add_custom_target(tandem_cuda_check DEPENDS ${objects})
add_test(NAME cuda_kernels COMMAND "${CMAKE_COMMAND}" --build "${PROJECT_BINARY_DIR}" --target
                                   tandem_cuda_check)
set_tests_properties(cuda_kernels PROPERTIES TIMEOUT 1200 LABELS script)
