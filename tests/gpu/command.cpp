// The command with libraries of CUDA devices that are missing, wrong or without a device; and with an emulated one.

#include "emulated.hpp"
#include "tests/command_process.hpp"

using namespace troupe;
using tests::variable;
using nlohmann::json;

namespace {

/// What `troupe train` on a GPU and `troupe devices` say where there is none.
void check_refused(const scratch_folder& folder, const std::string& device, const std::vector<std::string>& parts) {
  const auto trained = run(folder, {"train", "small.toml", "runtime.device=" + device});
  const auto listed = run(folder, {"devices"});
  CHECK(trained.code == 2);
  CHECK(listed.code == 0);
  INFO(trained.err);
  INFO(listed.out);
  CHECK(trained.err.find("runtime.device") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder.path() / "runs"));
  for (const auto& part : parts) {
    CAPTURE(part);
    CHECK(trained.err.find(part) != std::string::npos);
    if (device == "cuda")
      CHECK(listed.out.find(part) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("without a usable library or device the command says why and what to do") {
  const scratch_folder folder;
  prepare(folder);
  const auto with_library = [&](const std::string& file, const std::vector<std::string>& parts) {
    const variable library("TROUPE_CUDA_LIBRARY", file);
    check_refused(folder, "cuda", parts);
  };
  with_library("/nowhere/libtroupe_cuda.so", {"TROUPE_CUDA_LIBRARY = /nowhere/libtroupe_cuda.so: there is no such file",
                                              "help: name the libtroupe_cuda.so of this build"});
  write_file(folder, "text.so", "no library");
  with_library((folder.path() / "text.so").string(), {"cannot be opened", "help: "});
  with_library(OTHER_LIBRARY, {"was built from other sources than this program: seam 0123456789abcdef", "build both together"});
  with_library(NO_MODULE, {"is no library of devices: it does not export troupe_device_module"});

  const variable library("TROUPE_CUDA_LIBRARY", EMULATED_LIBRARY);
  const auto with_machine = [&](const char* told, const std::vector<std::string>& parts) {
    const variable machine("EMULATED_GPU", told);
    check_refused(folder, "cuda", parts);
  };
  with_machine("no-driver", {"this machine has no NVIDIA driver", "help: install it, or train with runtime.device"});
  with_machine("old-driver", {"the NVIDIA driver is too old: it supports CUDA 11.4, expected 13.0", "help: update it"});
  with_machine("no-device", {"no device that this process may use", "CUDA_VISIBLE_DEVICES"});
  check_refused(folder, "cuda:1", {"this machine has one CUDA device, cuda:0"});
  check_refused(folder, "gpu", {"unknown device 'gpu', expected cpu, cuda, cuda:0,1,... or reference"});
}

TEST_CASE("the command lists the devices, plans for a GPU and trains on it") {
  const scratch_folder folder;
  prepare(folder);
  const variable library("TROUPE_CUDA_LIBRARY", EMULATED_LIBRARY), attention("TROUPE_CUDNN_LIBRARY", "off");
  const auto listed = json::parse(run(folder, {"devices", "--json"}).out);
  REQUIRE(listed["devices"].size() == 2);
  CHECK(listed["devices"][0]["device"] == "cpu");
  CHECK(listed["devices"][0]["peak_flops"] > 0.0);
  CHECK(listed["devices"][1]["device"] == "cuda:0");
  CHECK(listed["devices"][1]["name"] == "emulated GPU");
  for (const auto* rate : {"copy_bytes_per_second", "to_device_bytes_per_second", "to_host_bytes_per_second", "matrix_flops"})
    CHECK(listed["devices"][1][rate] > 0.0);
  CHECK(listed["devices"][1]["attention"] == "own kernels: TROUPE_CUDNN_LIBRARY is off");
  CHECK(run(folder, {"devices"}).out.find("cuda:0   emulated GPU") != std::string::npos);

  const auto planned = run(folder, {"train", "small.toml", "runtime.device=cuda", "--dry-run"});
  CHECK(planned.out.find("# on cuda:0, emulated GPU, ") != std::string::npos);

  const auto example = run(folder, {"train", TROUPE_SOURCE_DIR "/examples/tiny_shakespeare_gpu.toml", "--dry-run",
                                    "data.path=text.txt", "data.cache=cache"});
  INFO(example.err);
  CHECK(example.code == 0);
  CHECK(example.out.find("precision = \"bfloat16\"") != std::string::npos);
  CHECK(example.out.find("# on cuda:0, emulated GPU, ") != std::string::npos);

  // A management library whose device uses 640 J between two readings; the run has 20 steps of 4 x 16 tokens.
  const variable management("LD_LIBRARY_PATH", std::filesystem::path(EMULATED_NVML).parent_path().string());
  const auto trained = run(folder, {"train", "small.toml", "runtime.device=cuda:0", "--json"});
  INFO(trained.err);
  CHECK(trained.code == 0);
  CHECK(lines_of(trained.out).back()["joules_per_token"] == 0.5);
  CHECK(trained.err.find(" | 0.5 J/tok") != std::string::npos);
  CHECK(run(folder, {"train", "small.toml", "runtime.device=cpu", "training.steps=25", "--resume"}).code == 0);

  const variable machine("EMULATED_GPU", "two-devices");
  const auto several = run(folder, {"train", "small.toml", "runtime.device=cuda:1,0", "--dry-run"});
  CHECK(several.out.find("# on cuda:1, emulated GPU, ") != std::string::npos);
  CHECK(several.out.find("# on cuda:0, emulated GPU, ") != std::string::npos);
  const auto plan = json::parse(run(folder, {"train", "small.toml", "runtime.device=cuda:1,0", "--dry-run", "--json"}).out);
  REQUIRE(plan["devices"].size() == 2);
  CHECK(plan["devices"][0]["device"] == "cuda:1");
  CHECK(plan["devices"][0]["predicted_bytes"] > 0);
  CHECK(plan["device_memory_bytes"] == plan["devices"][0]["predicted_bytes"].get<std::size_t>() +
                                           plan["devices"][1]["predicted_bytes"].get<std::size_t>());
}

TEST_CASE("a trained model is evaluated and continues a text on a GPU as on the processor") {
  const scratch_folder folder;
  prepare(folder);
  const variable library("TROUPE_CUDA_LIBRARY", EMULATED_LIBRARY);
  REQUIRE(run(folder, {"train", "small.toml"}).code == 0);
  const auto loss_on = [&](const std::string& device, const std::string& precision) {
    const auto result = run(folder, {"eval", "runs/small", "--json", "--batches", "2", "--device", device, "--precision", precision});
    INFO(result.err);
    REQUIRE(result.code == 0);
    return json::parse(result.out)["loss"].get<double>();
  };
  const auto expected = loss_on("cpu", "float32");
  CHECK(loss_on("cuda", "float32") == doctest::Approx(expected).epsilon(1e-5));
  CHECK(loss_on("cuda", "automatic") == doctest::Approx(expected).epsilon(5e-3));
  const auto text_on = [&](const std::string& device, const std::string& precision) {
    const auto result = run(folder, {"generate", "runs/small", "--tokens", "20", "--temperature", "0", "--device", device,
                                     "--precision", precision});
    CHECK(result.code == 0);
    return result.out;
  };
  CHECK(text_on("cuda", "float32") == text_on("cpu", "float32"));
  CHECK(text_on("cuda", "bfloat16").size() > 1);
  for (const char* command : {"eval", "generate"}) {
    const auto refused = run(folder, {command, "runs/small", "--precision", "bfloat16"});
    CHECK(refused.code == 2);
    CHECK(refused.err.find("--precision: the device 'cpu' does not compute in it") != std::string::npos);
    CHECK(run(folder, {command, "runs/small", "--device", "cuda:1"}).err.find("one CUDA device") != std::string::npos);
  }
}

TEST_CASE("a profiler sees whose work it is, and of which step; without one there are no ranges") {
  const scratch_folder folder;
  prepare(folder);
  const variable library("TROUPE_CUDA_LIBRARY", EMULATED_LIBRARY);
  const auto ranges = [&](const char* name) {
    const auto result = run(folder, {"train", "small.toml", "runtime.device=cuda", "training.steps=2", "--run-dir", name});
    CHECK(result.code == 0);
    return result.err;
  };
  CHECK(ranges("alone").find("profiler: ") == std::string::npos);
  const variable machine("EMULATED_GPU", "profiler");
  const auto seen = ranges("profiled");
  for (const auto* range : {"domain troupe", "replica/0 step 1 forward embedding", "replica/0 step 2 backward head",
                            "shard/0 step 2 update", "evaluator step 2"}) {
    CAPTURE(range);
    CHECK(seen.find(std::string("profiler: ") + range + "\n") != std::string::npos);
  }
}
