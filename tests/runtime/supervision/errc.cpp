#include "runtime/supervision/errc.hpp"

#include <stdexcept>

#include <doctest/doctest.h>

#include "runtime/error.hpp"
#include "runtime/tensor/device.hpp"

using namespace troupe;

TEST_CASE("an error says its code and its message") {
  const auto reason = make_error(errc::bad_input, "shard/3 is at version 7; ask for 8 or later");
  CHECK(describe(reason) == "bad input: shard/3 is at version 7; ask for 8 or later");
  CHECK(root_cause(reason) == "shard/3 is at version 7; ask for 8 or later");
  CHECK(is(reason, errc::bad_input));
  CHECK_FALSE(is(reason, errc::unknown_name));
  CHECK_FALSE(is(caf::error{}, errc::bad_input));
}

TEST_CASE("errors of CAF's are described too") {
  CHECK(describe(caf::error{}) == "normal");
  CHECK(describe(caf::exit_reason::kill) == "exit_reason(kill)");
  CHECK(root_cause(caf::exit_reason::kill) == "exit_reason(kill)");
  CHECK(describe(caf::sec::request_timeout) == "system_error(request_timeout)");
  // Equal numbers of another category are other errors.
  CHECK_FALSE(is(caf::error{static_cast<std::uint8_t>(errc::bad_input), caf::atom("other")}, errc::bad_input));
}

TEST_CASE("an exception keeps what it says") {
  const auto convert = [](auto exception) { return to_error(std::make_exception_ptr(exception)); };
  CHECK(is(convert(input_error("run.toml:3:1: unknown key")), errc::bad_input));
  CHECK(root_cause(convert(input_error("run.toml:3:1: unknown key"))) == "run.toml:3:1: unknown key");
  CHECK(convert(std::runtime_error("disk full")) == caf::sec::runtime_error);
  CHECK(root_cause(convert(system_error("disk full"))) == "disk full");
  CHECK(is(convert(device_error("no memory")), errc::system_failure));
  CHECK(is(convert(device_lost("cuda:0: misaligned address")), errc::device_lost));
  CHECK(root_cause(convert(42)) == "an exception that is not a std::exception");
}
