# How C++ is compiled here: the flags that decide bits, the flags that decide speed, ccache.
#
# Defines the interface target isobit_numeric_flags and isobit_set_instruction_sets().

# Written fma() is fused and nothing else is: the bits may not depend on the compiler's taste.
# Haswell is the least x86 machine for the whole program, not only for runtime/: were an inline
# function compiled with and without FMA, the linker would choose which one the kernels get.
# AArch64 is Armv8.0, whatever the compiler's own default: it has FMA, and no bf16 instructions.
# Without errno, sqrt() is the instruction alone; with it, negative operands would call libm.
add_library(isobit_numeric_flags INTERFACE)
target_compile_options(isobit_numeric_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off;-fno-math-errno>)
set_target_properties(isobit_numeric_flags PROPERTIES EXPORT_NAME numeric_flags)

string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" processor)
set(ISOBIT_X86 OFF)
if(processor MATCHES "^(x86_64|amd64)$")
  set(ISOBIT_X86 ON)
  target_compile_options(isobit_numeric_flags INTERFACE
    $<BUILD_INTERFACE:$<$<COMPILE_LANGUAGE:CXX>:-march=haswell>>)
elseif(processor MATCHES "^(aarch64|arm64)$")
  target_compile_options(isobit_numeric_flags INTERFACE
    $<BUILD_INTERFACE:$<$<COMPILE_LANGUAGE:CXX>:-march=armv8-a>>)
endif()

# __FILE__ without the place of the checkout: the same program wherever it was built.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=>)

# Link-time optimisation would mix the instruction sets of files that must stay apart.
set(CMAKE_INTERPROCEDURAL_OPTIMIZATION OFF)

find_program(ISOBIT_CCACHE ccache)
foreach(language CXX CUDA)
  if(ISOBIT_CCACHE AND NOT CMAKE_${language}_COMPILER_LAUNCHER)
    set(CMAKE_${language}_COMPILER_LAUNCHER
        ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
        ${ISOBIT_CCACHE})
  endif()
endforeach()

# Gives each *_avx2.cc and *_avx512.cc its flags.
function(isobit_set_instruction_sets)
  if(NOT ISOBIT_X86)
    return()
  endif()
  set(avx2 -mavx2 -mfma -mf16c)
  set(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    # UBSan's check of every pointer sum takes clang minutes; ASan sees what is behind it. AVX-512's
    # file, ten minutes with UBSan, has the same templates as AVX2's.
    list(APPEND avx2 -fno-sanitize=pointer-overflow)
    list(APPEND avx512 -fno-sanitize=undefined)
  endif()
  foreach(source IN LISTS ARGN)
    if(source MATCHES "_avx2\\.cc$")
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS ${avx2})
    elseif(source MATCHES "_avx512\\.cc$")
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS ${avx512})
    endif()
  endforeach()
endfunction()
