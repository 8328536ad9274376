# CUDA is found or not, and asked for only when there is a CUDA source.
#
# Sets ISOBIT_HAVE_CUDA and ISOBIT_CUDA_SOURCES; defines isobit_attach_cuda(target).

set(ISOBIT_HAVE_CUDA OFF)
set(ISOBIT_CUDA_SOURCES)
file(GLOB_RECURSE cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/runtime/backends/cuda/*.cu)

if(cuda_sources AND NOT ISOBIT_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER AND ISOBIT_CUDA STREQUAL "ON")
    message(FATAL_ERROR "ISOBIT_CUDA=ON, but no CUDA compiler was found")
  endif()
  if(CMAKE_CUDA_COMPILER)
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 90)  # one, to build fast; the preset release-gpu has them all
    endif()
    # GPUs older than the least architecture are refused with a reason, not by a failing launch.
    string(REGEX MATCHALL "[0-9]+" numbers "${CMAKE_CUDA_ARCHITECTURES}")
    list(SORT numbers COMPARE NATURAL)
    list(APPEND numbers 80)  # when it is "all" or "native"
    list(GET numbers 0 least)
    set_property(SOURCE ${PROJECT_SOURCE_DIR}/runtime/backends/cuda/device/probe.cc APPEND PROPERTY
                 COMPILE_DEFINITIONS ISOBIT_CUDA_LEAST=${least})
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    # CMake 3.25 does not know nvcc's C++20 and would silently leave the flag out.
    foreach(kind STANDARD EXTENSION)
      if(NOT CMAKE_CUDA20_${kind}_COMPILE_OPTION)
        set(CMAKE_CUDA20_${kind}_COMPILE_OPTION "-std=c++20")
      endif()
    endforeach()
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_STANDARD_REQUIRED ON)
    set(CMAKE_CUDA_EXTENSIONS OFF)
    set(ISOBIT_HAVE_CUDA ON)
    file(GLOB_RECURSE host_sources CONFIGURE_DEPENDS
         ${PROJECT_SOURCE_DIR}/runtime/backends/cuda/*.cc)
    set(ISOBIT_CUDA_SOURCES ${cuda_sources} ${host_sources})
  endif()
endif()
message(STATUS "CUDA backend: ${ISOBIT_HAVE_CUDA} (ISOBIT_CUDA=${ISOBIT_CUDA})")

function(isobit_attach_cuda target)
  if(NOT ISOBIT_HAVE_CUDA)
    return()
  endif()
  target_compile_definitions(${target} PUBLIC ISOBIT_HAVE_CUDA=1)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false --ftz=false --prec-div=true --prec-sqrt=true
      -Xcompiler=-ffp-contract=off>)
  if(ISOBIT_X86)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-march=haswell>)
  endif()
  target_link_libraries(${target} PRIVATE CUDA::cudart_static)
endfunction()
