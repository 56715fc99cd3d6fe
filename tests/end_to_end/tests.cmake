troupe_compile_together(test_end_to_end)
set_source_files_properties(end_to_end/faults.cpp end_to_end/heads.cpp PROPERTIES  # have names that others have
                            SKIP_UNITY_BUILD_INCLUSION ON)
target_link_libraries(test_end_to_end PRIVATE nlohmann_json::nlohmann_json)
add_dependencies(test_end_to_end troupe)
# Real processes that are killed and wait for each other: on a slow machine that adds up.
set_tests_properties(end_to_end PROPERTIES TIMEOUT 1200)
