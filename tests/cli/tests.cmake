target_link_libraries(test_cli PRIVATE troupe_cli nlohmann_json::nlohmann_json)
add_dependencies(test_cli troupe)
troupe_compile_together(test_cli)
