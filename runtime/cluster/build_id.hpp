#pragma once

#include <string>

namespace troupe {

/// Names the build of this program: "troupe 0.1.0 3fa9c2d41b7e". The digits come from what the linker noted in the
/// libraries of Troupe: copies of one build agree, two builds differ. All nodes of a job must have the same, since
/// they speak one protocol and must round alike.
std::string build_id();

}  // namespace troupe
