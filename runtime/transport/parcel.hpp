#pragma once

/// What travels between nodes: one message of one actor to another, with the tensors beside it.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/tensor/device_channel.hpp"
#include "runtime/tensor/tensor.hpp"

namespace troupe {

/// A node of a job: 0 is the head, where the coordinator lives; the others are numbered as they join, and a number is
/// never given out twice, so that a node that was declared dead and comes back is somebody else.
using node_id = std::uint32_t;
inline constexpr node_id head_node = 0;

/// Where an actor lives. The incarnation fences: what is sent to an earlier one never reaches its successor.
struct actor_address {
  node_id node = head_node;
  std::string name;  ///< logical, such as "shard/3"
  std::uint64_t incarnation = 0;

  friend auto operator<=>(const actor_address&, const actor_address&) = default;
  explicit operator bool() const noexcept { return !name.empty(); }
};

/// A tensor of a parcel that takes another way than the parcel: by a device link, from GPU to GPU.
struct tensor_beside {
  std::size_t place = 0;  ///< among the parcel's tensors, which hold nothing there until it has come
  tensor_form form;

  friend bool operator==(const tensor_beside&, const tensor_beside&) = default;
};

struct parcel {
  actor_address to;
  actor_address from;            ///< empty: nobody expects an answer
  std::string type;              ///< of the message, as its codec is registered
  std::vector<std::byte> body;   ///< its fields, without elements of tensors
  std::vector<tensor> tensors;   ///< in host memory when it is sent, in the order in which the fields name them
  std::uint64_t device_link = 0; ///< by which some of them travel (device_links.hpp); 0: by none
  std::vector<tensor_beside> beside{};

  std::size_t tensor_bytes() const noexcept {
    std::size_t sum = 0;
    for (const auto& each : tensors)
      sum += each.size_bytes();
    return sum;
  }
};

}  // namespace troupe
