# Each step must succeed, and the program must print what it should.

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY OUTPUT_VARIABLE output)
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${WORK}/staging" "${WORK}/prefix" "${WORK}/app")
run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${WORK}/staging")
# Used elsewhere than it was installed: what is installed may not remember where that was.
file(RENAME "${WORK}/staging" "${WORK}/prefix")
run("${CMAKE_COMMAND}" -S "${APP}" -B "${WORK}/app" -G "${GENERATOR}" "-DCMAKE_PREFIX_PATH=${WORK}/prefix"
    "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}")
run("${CMAKE_COMMAND}" --build "${WORK}/app")
run("${WORK}/app/app")
if(NOT output STREQUAL "a GPT-2 of 124439808 parameters\n")
  message(FATAL_ERROR "the program printed: ${output}")
endif()
run("${WORK}/prefix/bin/troupe" --help)
