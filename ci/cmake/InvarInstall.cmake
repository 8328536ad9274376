# Install rules: the program, its data, the runtime library and its CMake package.

include(CMakePackageConfigHelpers)

install(TARGETS invar_runtime invar_numeric_flags EXPORT invar_targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/invar)
if(TARGET invar)
  install(TARGETS invar RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(TARGET invar_mpi)
  install(TARGETS invar_mpi RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY scenarios golden DESTINATION ${CMAKE_INSTALL_DATADIR}/invar
        PATTERN "*.cc" EXCLUDE PATTERN "*.h" EXCLUDE PATTERN "__pycache__" EXCLUDE)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/invar)
install(EXPORT invar_targets NAMESPACE invar:: DESTINATION ${package_dir}
        FILE invar-targets.cmake)
configure_package_config_file(${PROJECT_SOURCE_DIR}/ci/cmake/invar-config.cmake.in
                              ${PROJECT_BINARY_DIR}/invar-config.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/invar-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/invar-config.cmake
              ${PROJECT_BINARY_DIR}/invar-config-version.cmake
        DESTINATION ${package_dir})
