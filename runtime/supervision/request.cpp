#include "runtime/supervision/request.hpp"

#include <fmt/format.h>

namespace troupe {

bool worth_retrying(const caf::error& reason) {
  return reason == caf::sec::request_timeout || reason == caf::sec::request_receiver_down
         || reason == caf::sec::runtime_error;
}

caf::error retries_exhausted(const std::string& name, const caf::error& last, std::uint32_t attempts,
                             std::chrono::milliseconds elapsed) {
  return make_error(errc::timed_out,
                    fmt::format("{}: {}; gave up after {} attempt{} in {:.1f} s", name, root_cause(last), attempts,
                                attempts == 1 ? "" : "s", static_cast<double>(elapsed.count()) / 1000.0));
}

}  // namespace troupe
