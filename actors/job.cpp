#include "actors/job.hpp"
