// A plan for a device refuses before anything is loaded, and names what would fit.
#include "engine/device_plan.h"

#include <gtest/gtest.h>

#include "checkpoint/safetensors.h"
#include "model/model_test_util.h"

namespace precis {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

DeviceMemory memory(std::int64_t free_bytes) {
  return {"cuda:0 (a GPU)", 80 * kGiB, free_bytes, kGiB / 2};
}

DeviceNeeds needs_of_mini(std::int64_t max_tokens, std::int64_t free_bytes = 78 * kGiB,
                          int n_host_experts = 0) {
  const ModelConfig config = load_config(PRECIS_MODELS "/mini").value();
  const Checkpoint checkpoint = std::move(Checkpoint::open(PRECIS_MODELS "/mini")).value();
  return device_needs(config, checkpoint, Rounding::kBf16, 512, max_tokens, {n_host_experts},
                      memory(free_bytes));
}

// The weights of V4-Flash, with the cache of the bundled model.
DeviceNeeds needs_of_large_model(int n_host_experts) {
  DeviceNeeds needs = needs_of_mini(1 << 20);
  needs.plan.n_experts = 256;
  needs.plan.n_host_experts = n_host_experts;
  needs.plan.expert_bytes = kGiB / 2;
  needs.plan.weights = 148 * kGiB - n_host_experts * kGiB / 2;
  needs.plan.host_weights = n_host_experts * kGiB / 2;
  return needs;
}

TEST(DevicePlan, FitsWhereAllIsFree) {
  EXPECT_TRUE(check_fits(needs_of_mini(100'000)).ok());
}

TEST(DevicePlan, WeightsAreThoseOfTheFile) {
  const Checkpoint checkpoint = std::move(Checkpoint::open(PRECIS_MODELS "/mini")).value();
  const auto stored = static_cast<std::int64_t>(checkpoint.payload_bytes());
  const DevicePlan plan = needs_of_mini(1000).plan;
  EXPECT_LE(stored, plan.weights);
  EXPECT_LE(plan.weights, stored + stored / 4);  // vectors as f32, allocations rounded up
  EXPECT_EQ(plan.n_layers, 5);
  EXPECT_EQ(plan.host_weights, 0);
}

TEST(DevicePlan, ExpertsOnTheHostAreCountedThere) {
  const DevicePlan all = needs_of_mini(1000).plan;
  const DevicePlan half = needs_of_mini(1000, kGiB, 8).plan;
  const DevicePlan none = needs_of_mini(1000, kGiB, 16).plan;
  EXPECT_EQ(half.n_experts, 16);
  EXPECT_GT(half.host_weights, 0);
  EXPECT_EQ(2 * half.host_weights, none.host_weights);
  EXPECT_EQ(half.weights + half.host_weights, all.weights);
}

TEST(DevicePlan, TooLongAContextNamesTheLongestThatFits) {
  const DevicePlan whole = needs_of_mini(1 << 20).plan;
  const std::int64_t free_bytes = whole.needed() - whole.cache / 2 - kGiB / 4;
  const auto refused = check_fits(needs_of_mini(1 << 20, free_bytes));
  expect_error(refused, ErrorCode::kBudget, {"cuda:0 (a GPU)", "1048576 tokens", "--ctx "});
  const std::string& text = refused.error().message;
  const std::int64_t context = std::stoll(text.substr(text.find("--ctx ") + 6));
  EXPECT_LT(1 << 18, context);
  EXPECT_LT(context, 1 << 20);
  EXPECT_TRUE(check_fits(needs_of_mini(context, free_bytes)).ok()) << text;
}

TEST(DevicePlan, TooManyWeightsNameExpertsOnTheHostThatFit) {
  const auto refused = check_fits(needs_of_large_model(0));
  expect_error(refused, ErrorCode::kBudget,
               {"weights 148.0", "--experts-on-host ", "2 such devices"});
  const std::string& text = refused.error().message;
  const std::string flag = "--experts-on-host ";
  const int n = std::stoi(text.substr(text.find(flag) + flag.size()));
  EXPECT_TRUE(check_fits(needs_of_large_model(n)).ok()) << text;
  EXPECT_FALSE(check_fits(needs_of_large_model(n - 1)).ok()) << text;
}

TEST(DevicePlan, MemoryOfOtherProcessesIsNamed) {
  expect_error(check_fits(needs_of_mini(1000, kGiB / 4)), ErrorCode::kBudget,
               {"of 80.0 GiB free", "if other processes left"});
}

TEST(DevicePlan, MoreThanTheHostHasIsRefused) {
  const DevicePlan plan = needs_of_mini(1000, kGiB, 4).plan;
  EXPECT_TRUE(check_host_fits(plan, plan.host_weights).ok());
  expect_error(check_host_fits(plan, plan.host_weights - 1), ErrorCode::kBudget,
               {"host memory", "4 of 16 experts"});
}

}  // namespace
}  // namespace precis
