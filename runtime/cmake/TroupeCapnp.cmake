# troupe_compile_schemas(TARGET files...): generates C++ from Cap'n Proto schemas at build time and adds it to
# TARGET. Generated headers are included as the schemas' paths from the project root: "runtime/wire/x.capnp.h".

find_program(CAPNP_COMPILER capnp REQUIRED)
find_program(CAPNP_CXX_PLUGIN capnpc-c++ REQUIRED)

function(troupe_compile_schemas TARGET)
  set(output_root "${PROJECT_BINARY_DIR}/generated")
  file(MAKE_DIRECTORY "${output_root}")
  foreach(schema IN LISTS ARGN)
    file(REAL_PATH "${schema}" schema_path BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
    file(RELATIVE_PATH relative "${PROJECT_SOURCE_DIR}" "${schema_path}")
    set(source "${output_root}/${relative}.c++")
    set(header "${output_root}/${relative}.h")
    add_custom_command(
      OUTPUT "${source}" "${header}"
      COMMAND "${CAPNP_COMPILER}" compile "-o${CAPNP_CXX_PLUGIN}:${output_root}"
              "--src-prefix=${PROJECT_SOURCE_DIR}" "-I${PROJECT_SOURCE_DIR}" "${schema_path}"
      DEPENDS "${schema_path}"
      COMMENT "Compiling schema ${relative}"
      VERBATIM)
    target_sources(${TARGET} PRIVATE "${source}" "${header}")
  endforeach()
  target_include_directories(${TARGET} PRIVATE "${output_root}")
endfunction()
