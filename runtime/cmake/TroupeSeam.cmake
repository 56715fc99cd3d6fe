# The fingerprint of the seam between the program and libraries of devices: of the headers that both are compiled from.
# As a script (cmake -DOUTPUT=FILE -DHEADERS=A;B -P TroupeSeam.cmake) it writes FILE; included, it gives the rule for
# that and the target troupe_seam, which whoever includes "runtime/tensor/seam_fingerprint.hpp" links.

if(CMAKE_SCRIPT_MODE_FILE)
  cmake_policy(VERSION 3.25)
  set(all "")
  foreach(header IN LISTS HEADERS)
    file(SHA256 "${header}" one)
    string(APPEND all "${one}")
  endforeach()
  string(SHA256 all "${all}")
  string(SUBSTRING "${all}" 0 16 all)
  file(CONFIGURE OUTPUT "${OUTPUT}" @ONLY
       CONTENT "#pragma once\n\nnamespace troupe {\ninline constexpr char compiled_seam_fingerprint[] = \"@all@\";\n}\n")
  return()
endif()

file(GLOB seam_headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/runtime/tensor/*.hpp" "${PROJECT_SOURCE_DIR}/runtime/error.hpp")
set(seam_fingerprint "${PROJECT_BINARY_DIR}/generated/runtime/tensor/seam_fingerprint.hpp")
add_custom_command(
  OUTPUT "${seam_fingerprint}"
  COMMAND "${CMAKE_COMMAND}" "-DOUTPUT=${seam_fingerprint}" "-DHEADERS=${seam_headers}" -P "${CMAKE_CURRENT_LIST_FILE}"
  DEPENDS ${seam_headers} "${CMAKE_CURRENT_LIST_FILE}"
  COMMENT "Fingerprinting the seam"
  VERBATIM)
add_custom_target(troupe_seam_file DEPENDS "${seam_fingerprint}")
add_library(troupe_seam INTERFACE)
target_include_directories(troupe_seam INTERFACE "${PROJECT_BINARY_DIR}/generated")
add_dependencies(troupe_seam troupe_seam_file)
