// How the rows of a step's tokens are cut into units of work for attention on tensor cores.
//
// A list is the rows of one token for 64 heads.  Its blocks of 64 rows have sums of their own, which are
// added, in order, to those of a part; two parts are a pair, and pairs are added, in order, to the list's.
// A unit is one block, one part, one pair or a whole list, as the step's size demands: the same additions
// in every case.
#pragma once

#include "backend/cuda/attend/tiles.cuh"

namespace precis::cuda {

/// One record: a unit's sums, of a thread's accumulators, and the chain that they count from.
struct UnitRecord {
  float4 quads[kWidth / 8][kWarpgroup];
  float4 chain[kWarpgroup];  // references, denominators
};

constexpr int kMaxRecords = 512;  // 66 MB

// Of blocks: two parts, of which the first has one more.  An HCA layer's 8,320 rows at a million tokens
// are four pairs, so 32 sequences are a unit for each of 128 multiprocessors.
constexpr int kPairBlocks = 33;
constexpr int kPartBlocks = (kPairBlocks + 1) / 2;  // of the longer one

/// Where unit `i` of a list begins, if two units that follow each other have `two_units` blocks.
__host__ __device__ constexpr int unit_begin(int two_units, int i) {
  return i / 2 * two_units + i % 2 * ((two_units + 1) / 2);
}
__host__ __device__ constexpr int count_units(int two_units, int n_blocks) {
  const int n_left = n_blocks % two_units;
  return n_blocks / two_units * 2 + (n_left > 0) + (n_left > (two_units + 1) / 2);
}

constexpr int kMaxCalls = 32;

/// Calls of the same number of heads, as one piece of work.
template <int kCalls>
struct AttendStep {
  AttendCall calls[kCalls];
  int n_groups;  // of 64 heads
  int n_lists;
  bool is_cut;  // whether there are lists of several units
  int two_units;  // blocks of two units: 2 (a block each), kPairBlocks, 2 · kPairBlocks, or two lists
  int n_splits;  // of the heads of a unit, where blocks of the grid would idle
  int n_units;   // those beyond the end of their list included
  UnitRecord* records;
};

struct List {
  int call;
  std::int64_t t;
  int head;
  int n_blocks;
};

template <int kCalls>
__device__ List list_at(const AttendStep<kCalls>& step, int i) {
  List list{0, i / step.n_groups, 0, 0};
  if constexpr (kCalls > 1) {
    for (; list.t >= step.calls[list.call].q.n; ++list.call) list.t -= step.calls[list.call].q.n;
  }
  const AttendCall& c = step.calls[list.call];
  list.head = c.first_head + i % step.n_groups * kHeads;
  list.n_blocks = (c.n_rows(list.t) + kBlockRows - 1) / kBlockRows;
  return list;
}

struct Unit {
  List list;
  int begin;  // blocks of the list
  int end;
  bool exists;
  int first_head;            // of the list's 64
  int n_heads;               // a multiple of 16: those of whole warps
  bool has_queries = false;  // those of the unit before

  __device__ bool is_whole_list() const { return begin == 0 && end == list.n_blocks; }
  __device__ bool has_warp_of(int tid) const {
    const int head = tid / kWarp * 16;
    return head >= first_head && head < first_head + n_heads;
  }
};

/// Splits of a unit follow each other, and so do units of the same place of all lists: the short last ones
/// come at the end.
template <int kCalls>
__device__ Unit unit_at(const AttendStep<kCalls>& step, int i) {
  const int in_lists = i / step.n_splits;
  const int place = in_lists / step.n_lists;
  Unit unit{list_at(step, in_lists % step.n_lists)};
  unit.begin = min(unit.list.n_blocks, unit_begin(step.two_units, place));
  unit.end = min(unit.list.n_blocks, unit_begin(step.two_units, place + 1));
  unit.exists = place == 0 || unit.begin < unit.end;
  unit.n_heads = kHeads / step.n_splits;
  unit.first_head = i % step.n_splits * unit.n_heads;
  return unit;
}

/// Adds the records of lists that attend_heads has cut, and stores their results (merge.cu);
/// `has_parts`: units are blocks, and some list may have more than one part.
void merge_units(Device& device, const AttendStep<1>& step, bool has_parts);
void merge_units(Device& device, const AttendStep<kMaxCalls>& step, bool has_parts);

}  // namespace precis::cuda
