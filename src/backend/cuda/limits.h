// The sizes that the kernels are written for.  Free of CUDA, so that any machine can test it.
#pragma once

#include "precis/status.h"

namespace precis {
struct ModelSizes;
}

namespace precis::cuda {

inline constexpr int kMaxStreams = 8;         // hyper-connections, held in registers
inline constexpr int kMaxActiveExperts = 16;  // the choice of a token, in registers
inline constexpr int kMaxExperts = 1024;      // counters in shared memory
inline constexpr int kMaxKvRowWidth = 2048;   // a row, in shared memory

/// See Backend::check_sizes.
Result<void> check_sizes(const ModelSizes& sizes);

}  // namespace precis::cuda
