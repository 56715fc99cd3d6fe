target_link_libraries(test_end_to_end PRIVATE nlohmann_json::nlohmann_json)
add_dependencies(test_end_to_end troupe)
# Real processes that are killed and wait for each other: on a slow machine that adds up.
set_tests_properties(end_to_end PROPERTIES TIMEOUT 1200)
