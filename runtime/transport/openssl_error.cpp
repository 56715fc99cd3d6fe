#include "runtime/transport/openssl_error.hpp"

#include <cstring>

#include <openssl/err.h>

namespace troupe {

std::string take_openssl_error() {
  const auto last = ERR_peek_last_error();
  ERR_clear_error();
  if (ERR_SYSTEM_ERROR(last))
    return std::strerror(ERR_GET_REASON(last));
  const auto* reason = ERR_reason_error_string(last);
  return reason != nullptr ? reason : "no reason is known";
}

}  // namespace troupe
