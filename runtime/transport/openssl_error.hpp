#pragma once

#include <string>

namespace troupe {

/// What OpenSSL says went wrong in this thread, without its codes; forgets it.
std::string take_openssl_error();

}  // namespace troupe
