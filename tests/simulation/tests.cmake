troupe_compile_together(test_simulation)
set_source_files_properties(simulation/heads.cpp PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)  # has names that others have
