#pragma once

#include <functional>

namespace troupe {

/// Runs `work` in a thread of low priority and waits for it; throws what it throws. For long work that must not hold up
/// those who compute: it takes cores that nobody else wants, all of one where nobody does.
///
/// A thread of its own, because lowering a priority needs no privilege but raising it again does. And so that locks
/// are safe: what the caller does before and after, such as giving back memory that others allocate, is done at its
/// ordinary priority. `work` should hold no lock for long that those who compute wait for.
void run_in_background(const std::function<void()>& work);

}  // namespace troupe
