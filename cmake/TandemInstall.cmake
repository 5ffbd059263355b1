include(CMakePackageConfigHelpers)
install(TARGETS tandem EXPORT TandemTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
                                            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET tandem-run)
  file(RELATIVE_PATH TANDEM_LIB_FROM_BIN "/${CMAKE_INSTALL_BINDIR}" "/${CMAKE_INSTALL_LIBDIR}")
  set_target_properties(tandem-run PROPERTIES INSTALL_RPATH "$ORIGIN/${TANDEM_LIB_FROM_BIN}")
  install(TARGETS tandem-run RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY "${PROJECT_SOURCE_DIR}/tandem" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
set(TANDEM_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/Tandem")
install(EXPORT TandemTargets NAMESPACE Tandem:: DESTINATION "${TANDEM_CMAKE_DIR}")
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/TandemConfig.cmake.in" "${PROJECT_BINARY_DIR}/TandemConfig.cmake"
  INSTALL_DESTINATION "${TANDEM_CMAKE_DIR}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/TandemConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/TandemConfig.cmake"
              "${PROJECT_BINARY_DIR}/TandemConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/TandemDependencies.cmake"
        DESTINATION "${TANDEM_CMAKE_DIR}")

# tandem.pc finds its prefix from its own place, so an install tree can be moved.
file(RELATIVE_PATH TANDEM_PC_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" TANDEM_PC_PREFIX "${TANDEM_PC_PREFIX}")
if(BUILD_SHARED_LIBS)
  set(TANDEM_PC_LIBS "")
else()
  set(TANDEM_PC_LIBS " -ldnnl -lz -lgomp -lpthread")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/tandem.pc.in" "${PROJECT_BINARY_DIR}/tandem.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/tandem.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
