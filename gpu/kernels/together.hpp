#pragma once

/// The same done to many arrays in one launch. An Item has `unsigned blocks() const`, of each_threads threads, and a
/// `__device__ operator()(unsigned block) const`, which one of its blocks calls.

#include <cassert>
#include <cstddef>

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

template <class Item>
struct item_list {
  static constexpr std::size_t arguments_bytes_max = 4096;  // of a kernel
  static constexpr std::size_t most = (arguments_bytes_max - 16) / (sizeof(Item) + sizeof(unsigned));

  Item items[most];
  unsigned blocks_before[most];  ///< of the items before this one
  unsigned count;
};

template <class Item>
__global__ void each_item_kernel(item_list<Item> list) {
  unsigned low = 0, high = list.count;  // the last item whose blocks begin at this one or before
  while (high - low > 1) {
    const unsigned middle = (low + high) / 2;
    (list.blocks_before[middle] <= blockIdx.x ? low : high) = middle;
  }
  list.items[low](blockIdx.x - list.blocks_before[low]);
}

/// Items for one launch.
template <class Item>
class together {
 public:
  static constexpr std::size_t most = item_list<Item>::most;

  void add(const Item& item) {
    assert(list_.count < most);
    list_.blocks_before[list_.count] = blocks_;
    list_.items[list_.count++] = item;
    blocks_ += item.blocks();
  }
  void launch(const operation& op) const {
    op.launch(each_item_kernel<Item>, {dim3(blocks_), dim3(each_threads)}, list_);
  }

 private:
  item_list<Item> list_{};
  unsigned blocks_ = 0;
};

}  // namespace troupe::gpu
