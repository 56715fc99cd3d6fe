#include "runtime/tensor/tensor.hpp"
