# Adds gpu/ where the CUDA toolkit is found; with TROUPE_CUDA=ON it must be.

find_package(CUDAToolkit 12.0 QUIET)
if(CUDAToolkit_FOUND AND EXISTS "${CUDAToolkit_NVCC_EXECUTABLE}" AND TARGET CUDA::cublasLt)
  if(NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER "${CUDAToolkit_NVCC_EXECUTABLE}")
  endif()
  message(STATUS "CUDA ${CUDAToolkit_VERSION}: building libtroupe_cuda")
  add_subdirectory("${PROJECT_SOURCE_DIR}/gpu" "${PROJECT_BINARY_DIR}/gpu")
elseif(TROUPE_CUDA STREQUAL "ON")
  message(FATAL_ERROR "TROUPE_CUDA=ON, but no CUDA toolkit 12.0 or later with nvcc and cuBLASLt was found\n"
                      "help: put nvcc into PATH or set CUDAToolkit_ROOT; TROUPE_CUDA=OFF builds without")
else()
  message(STATUS "no CUDA toolkit: building without CUDA devices")
endif()
