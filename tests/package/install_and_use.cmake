# Each step must succeed, and the program must print what it should.

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY OUTPUT_VARIABLE output)
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${WORK}/staging" "${WORK}/prefix" "${WORK}/app")
run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${WORK}/staging")
# Used elsewhere than it was installed: what is installed may not remember where that was.
file(RENAME "${WORK}/staging" "${WORK}/prefix")

# A program can include every header with what troupeConfig.cmake finds, and nothing else.
file(GLOB_RECURSE headers RELATIVE "${WORK}/prefix/include/troupe" "${WORK}/prefix/include/troupe/*.hpp")
list(LENGTH headers count)
if(count LESS 100)
  message(FATAL_ERROR "${count} headers are installed")
endif()
set(all_headers "")
foreach(header IN LISTS headers)
  file(STRINGS "${WORK}/prefix/include/troupe/${header}" foreign REGEX "^#include <[^>]+/")
  list(FILTER foreign EXCLUDE REGEX "<(caf|fmt|sys)/")
  if(foreign)
    message(FATAL_ERROR "${header} is installed and has ${foreign}")
  endif()
  string(APPEND all_headers "#include \"${header}\"\n")
endforeach()
file(WRITE "${WORK}/all_headers.cpp" "${all_headers}")

run("${CMAKE_COMMAND}" -S "${APP}" -B "${WORK}/app" -G "${GENERATOR}" "-DCMAKE_PREFIX_PATH=${WORK}/prefix"
    "-DALL_HEADERS=${WORK}/all_headers.cpp"
    "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}")
run("${CMAKE_COMMAND}" --build "${WORK}/app")
run("${WORK}/app/app")
if(NOT output STREQUAL "a GPT-2 of 124439808 parameters\n")
  message(FATAL_ERROR "the program printed: ${output}")
endif()
run("${WORK}/prefix/bin/troupe" --help)
