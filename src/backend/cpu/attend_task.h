// One piece of an attention step, as the parallel loop hands it to a kernel.
#pragma once

#include <cstddef>
#include <cstdint>

namespace precis {

struct AttendTask {
  std::int64_t first_token = 0;
  int n_tokens = 0;
  int kv_head = 0;
  int first_head = 0;
  int n_heads = 0;
  std::int64_t max_rows = 0;  // bound on the rows of any token
};

// Working memory of a task: what its passes share, and one decoded tile of rows.
struct AttendMemory {
  std::byte* sums = nullptr;
  std::byte* tile = nullptr;
};

struct AttendBytes {
  std::size_t sums = 0;
  std::size_t tile = 0;
};

}  // namespace precis
