# Install rules: the program, its data, the runtime library and its CMake package.

include(CMakePackageConfigHelpers)

install(TARGETS isobit_runtime isobit_numeric_flags EXPORT isobit_targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/isobit)
# Plugins are C and need nothing else: #include "plugin_abi.h".
install(FILES ${PROJECT_SOURCE_DIR}/runtime/backends/plugin/plugin_abi.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/isobit)
if(TARGET isobit)
  install(TARGETS isobit RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(TARGET isobit_mpi)
  install(TARGETS isobit_mpi RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY scenarios golden DESTINATION ${CMAKE_INSTALL_DATADIR}/isobit
        PATTERN "*.cc" EXCLUDE PATTERN "*.h" EXCLUDE PATTERN "__pycache__" EXCLUDE)
install(DIRECTORY runtime/backends/exec/adapters DESTINATION ${CMAKE_INSTALL_DATADIR}/isobit
        PATTERN "__pycache__" EXCLUDE)
# Records traces on other machines; needs nothing of the program.
install(FILES harness/import/isobit_trace.py harness/import/FORMAT.md
        DESTINATION ${CMAKE_INSTALL_DATADIR}/isobit)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/isobit)
install(EXPORT isobit_targets NAMESPACE isobit:: DESTINATION ${package_dir}
        FILE isobit-targets.cmake)
configure_package_config_file(${PROJECT_SOURCE_DIR}/ci/cmake/isobit-config.cmake.in
                              ${PROJECT_BINARY_DIR}/isobit-config.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/isobit-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/isobit-config.cmake
              ${PROJECT_BINARY_DIR}/isobit-config-version.cmake
        DESTINATION ${package_dir})
