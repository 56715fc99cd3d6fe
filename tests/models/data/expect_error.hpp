#pragma once

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "runtime/error.hpp"

namespace troupe {

/// The message of the input_error that `f` throws; fails the test where it throws none.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const input_error& error) {
    return error.what();
  }
  FAIL("expected an input_error");
  return {};
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace troupe
