# Installs headers, libraries, the command and an exported package:
#
#   find_package(troupe REQUIRED)
#   target_link_libraries(app troupe::actors)
#
# Headers go to include/troupe, which the targets add to the include path: programs include them as the sources here
# do, "actors/job.hpp". What only the libraries' own sources include stays here: kernels, and what needs more than
# troupeConfig.cmake finds.

include(CMakePackageConfigHelpers)

set(TROUPE_PACKAGE_DIR "lib/cmake/troupe")

install(TARGETS troupe RUNTIME DESTINATION bin)
install(TARGETS troupe_runtime troupe_models troupe_actors EXPORT troupeTargets LIBRARY DESTINATION lib)
install(DIRECTORY runtime models actors DESTINATION include/troupe FILES_MATCHING PATTERN "*.hpp"
        REGEX "/tensor/(cpu|reference)$" EXCLUDE
        REGEX "/(node_resources_json|json_file|byte_level|huggingface_config)\\.hpp$" EXCLUDE)
install(EXPORT troupeTargets NAMESPACE troupe:: DESTINATION "${TROUPE_PACKAGE_DIR}")

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/troupeConfig.cmake.in"
                              "${PROJECT_BINARY_DIR}/troupeConfig.cmake" INSTALL_DESTINATION "${TROUPE_PACKAGE_DIR}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/troupeConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/troupeConfig.cmake" "${PROJECT_BINARY_DIR}/troupeConfigVersion.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/FindCAF.cmake"
        DESTINATION "${TROUPE_PACKAGE_DIR}")
