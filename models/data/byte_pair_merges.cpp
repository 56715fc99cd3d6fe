#include "models/data/byte_pair_merges.hpp"

#include <functional>
#include <queue>

namespace troupe {

bool byte_pair_merges::add(pair parts, std::int32_t merged) {
  const merge made{static_cast<std::int32_t>(ranked_.size()), merged};
  if (!merges_.emplace(key_of(parts.first, parts.second), made).second)
    return false;
  ranked_.push_back(parts);
  return true;
}

void byte_pair_merges::encode(std::string_view word, std::vector<std::int32_t>& out) const {
  struct part {
    std::int32_t token;
    std::size_t previous, next;  // word.size(): none
  };
  const auto none = word.size();
  std::vector<part> parts(word.size());
  for (std::size_t i = 0; i < word.size(); ++i)
    parts[i] = {bytes_[static_cast<unsigned char>(word[i])], i == 0 ? none : i - 1, i + 1};
  struct candidate {
    merge what;
    std::size_t left, right;
    std::uint64_t was;  // a part that has changed since makes the candidate void
    bool operator>(const candidate& other) const {
      return std::pair(what.rank, left) > std::pair(other.what.rank, other.left);
    }
  };
  std::priority_queue<candidate, std::vector<candidate>, std::greater<>> candidates;
  const auto offer = [&](std::size_t left, std::size_t right) {
    if (left == none || right == none)
      return;
    const auto key = key_of(parts[left].token, parts[right].token);
    if (const auto found = merges_.find(key); found != merges_.end())
      candidates.push({found->second, left, right, key});
  };
  for (std::size_t i = 0; i + 1 < word.size(); ++i)
    offer(i, i + 1);
  while (!candidates.empty()) {
    const auto [what, left, right, was] = candidates.top();
    candidates.pop();
    if (parts[left].next != right || key_of(parts[left].token, parts[right].token) != was)
      continue;
    parts[left].token = what.merged;
    parts[left].next = parts[right].next;
    parts[right] = {-1, none, none};
    if (parts[left].next != none)
      parts[parts[left].next].previous = left;
    offer(parts[left].previous, left);
    offer(left, parts[left].next);
  }
  for (std::size_t i = 0; i != none; i = parts[i].next)
    out.push_back(parts[i].token);
}

}  // namespace troupe
