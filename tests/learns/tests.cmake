target_link_libraries(test_learns PRIVATE nlohmann_json::nlohmann_json)
add_dependencies(test_learns troupe)
# A whole run: a minute or two, more where cores are slow.
set_tests_properties(learns PROPERTIES TIMEOUT 1200 SKIP_REGULAR_EXPRESSION "skipped:")
