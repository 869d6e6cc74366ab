# One library target and one test program per source folder.

# precis_library(NAME SOURCES ... LINK ... [JOIN n]): src/<folder> as the target precis_<folder>.
# JOIN compiles up to n files as one, which saves reading the same headers again.
function(precis_library name)
  cmake_parse_arguments(ARG "" "JOIN" "SOURCES;LINK" ${ARGN})
  add_library(precis_${name} STATIC ${ARG_SOURCES})
  target_include_directories(precis_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(precis_${name} PUBLIC ${ARG_LINK})
  if(ARG_JOIN)
    set_target_properties(precis_${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${ARG_JOIN})
  endif()
endfunction()

# precis_test(NAME SOURCES ... LINK ... LABELS ...): a GoogleTest program; each case is a ctest test
# with label `unit` unless LABELS says otherwise.  Test data is found through PRECIS_TEST_DATA.
function(precis_test name)
  if(NOT PRECIS_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    PRECIS_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data" PRECIS_MODELS="${PROJECT_SOURCE_DIR}/models")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()

# precis_fuzz(NAME SOURCES ... LINK ...): a libFuzzer target, built with PRECIS_FUZZ=ON under clang.
function(precis_fuzz name)
  if(NOT PRECIS_FUZZ)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
  target_compile_definitions(${name} PRIVATE PRECIS_MODELS="${PROJECT_SOURCE_DIR}/models")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  add_dependencies(fuzz_targets ${name})
endfunction()
