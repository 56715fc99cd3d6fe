#include "tests/fuzz/mutate.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <random>

namespace troupe::fuzz {

namespace {

constexpr std::size_t size_max = 1 << 20;  // of an input, so that doubling edits stay bounded

class mutator {
 public:
  mutator(const std::vector<std::string>& seeds, std::uint64_t seed, std::uint64_t index) : seeds_(seeds) {
    std::seed_seq both{seed, seed >> 32, index, index >> 32};
    random_.seed(both);
  }

  std::string run() {
    std::string input = any_seed();
    // Mostly one to three edits, so that the rest of the input stays valid; now and then many.
    for (std::size_t edits = 1 + below(below(4) == 0 ? 32 : 3); edits > 0; --edits)
      edit(input);
    if (input.size() > size_max)
      input.resize(size_max);
    return input;
  }

 private:
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  const std::string& any_seed() { return seeds_[below(seeds_.size())]; }

  /// A random piece of `text`, mostly short.
  std::string piece(const std::string& text) {
    const std::size_t first = below(text.size() + 1);
    return text.substr(first, below(below(2) == 0 ? 16 : text.size() - first + 1));
  }

  void edit(std::string& input) {
    const std::size_t at = below(input.size() + 1);
    switch (below(10)) {
      case 0:  // flip a bit
        if (at < input.size())
          input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 1:  // any byte
        if (at < input.size())
          input[at] = static_cast<char>(below(256));
        break;
      case 2:
        overwrite_integer(input);
        break;
      case 3:  // cut the end off
        input.resize(at);
        break;
      case 4:  // take a piece out
        input.erase(at, below(below(2) == 0 ? 8 : input.size() + 1));
        break;
      case 5:  // put random bytes in
        for (std::size_t n = 1 + below(8); n > 0; --n)
          input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), static_cast<char>(below(256)));
        break;
      case 6:  // repeat a piece of the same input
        input.insert(at, piece(input));
        break;
      case 7:  // put in a piece of another
        input.insert(at, piece(any_seed()));
        break;
      case 8: {  // the head of one, the tail of another
        const std::string& other = any_seed();
        input = input.substr(0, at) + other.substr(below(other.size() + 1));
        break;
      }
      default:
        rewrite_number(input);
    }
  }

  /// Sizes, counts and offsets hide in little-endian integers: put an awkward value where one may stand.
  void overwrite_integer(std::string& input) {
    const std::size_t width = std::size_t{1} << below(4);
    if (input.size() < width)
      return;
    std::size_t at = below(input.size() - width + 1);
    if (below(2) == 0)
      at -= at % width;
    const std::array<std::uint64_t, 10> awkward{0, 1, ~std::uint64_t{0}, 0x7f, 0x7fff, 0x7fff'ffff,
                                                std::uint64_t{1} << 63, input.size(), std::uint64_t{1} << 40,
                                                random_()};
    std::uint64_t value = awkward[below(awkward.size())];
    if (below(3) == 0) {  // off by a little from what stands there
      value = 0;
      std::memcpy(&value, input.data() + at, width);
      value += below(9) - 4;
    }
    std::memcpy(input.data() + at, &value, width);
  }

  /// The same for text: another number where digits stand.
  void rewrite_number(std::string& input) {
    constexpr std::array<const char*, 8> awkward{"0",   "-1",     "4294967296", "18446744073709551616",
                                                 "1e9", "1e-999", "0.5",        "999999999999999999999999999"};
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    const std::size_t from = below(input.size() + 1);
    const auto first = std::find_if(input.begin() + static_cast<std::ptrdiff_t>(from), input.end(), digit);
    const auto last = std::find_if_not(first, input.end(), digit);
    if (first != input.end())
      input.replace(first, last, awkward[below(awkward.size())]);
  }

  const std::vector<std::string>& seeds_;
  std::mt19937_64 random_;
};

}  // namespace

std::string mutated(const std::vector<std::string>& seeds, std::uint64_t seed, std::uint64_t index) {
  return mutator(seeds, seed, index).run();
}

}  // namespace troupe::fuzz
