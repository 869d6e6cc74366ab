// One piece of an attention step, as the parallel loop hands it to a kernel.
#pragma once

#include <cstdint>

namespace precis {

struct AttendTask {
  std::int64_t first_token = 0;
  int n_tokens = 0;
  int first_head = 0;
  int n_heads = 0;
  std::int64_t max_rows = 0;  // bound on the rows of any token
};

}  // namespace precis
