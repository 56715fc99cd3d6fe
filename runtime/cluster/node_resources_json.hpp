#pragma once

/// How nodes say what they offer. Not installed: see TroupeInstall.cmake.

#include <nlohmann/json_fwd.hpp>

#include "runtime/cluster/node_resources.hpp"

namespace troupe {

nlohmann::json to_json(const node_resources& resources);

/// Believes nothing: throws input_error naming the key, what was found and what was expected, unless exactly the keys
/// of to_json are there, with values that a node can have. What another build sends may differ: where builds are
/// compared first, people learn of that instead.
node_resources node_resources_from_json(const nlohmann::json& object);

}  // namespace troupe
