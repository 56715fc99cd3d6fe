// The same targets under clang's libFuzzer, which follows coverage; see README.md.

#include <cstddef>
#include <cstdint>

#include "runtime/error.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    troupe::fuzz::read({reinterpret_cast<const char*>(data), size});
  } catch (const troupe::input_error&) {
    // the right answer to bad bytes
  }
  return 0;
}
