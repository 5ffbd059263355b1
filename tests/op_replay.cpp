// The tool op_replay on requests good and bad.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tandem/core/factory.h"
#include "tandem/io/npy.h"
#include "tests/support/compare.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using Arrays = std::map<std::string, Tensor>;

class OpReplay : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(tool)) GTEST_SKIP() << "the tools are not built in this folder";
    folder = fs::temp_directory_path() / cat("tandem_op_replay_", int64_t(::getpid()));
    fs::create_directories(folder);
  }
  void TearDown() override { fs::remove_all(folder); }

  int run(const std::string& arguments) {
    const int status =
        std::system(cat(tool, " ", arguments, " > ", folder.string(), "/log 2>&1").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string log() { return text_of(folder / "log"); }
  /// Runs the requests and gives exit code; fills `results` and `response`.
  int replay(const std::string& json, Arrays arrays) {
    arrays["request.json"] =
        wrap(std::vector<uint8_t>(json.begin(), json.end()), {int64_t(json.size())});
    save_npz((folder / "in.npz").string(), arrays);
    const fs::path out = folder / "out.npz";
    fs::remove(out);
    const int code = run(cat((folder / "in.npz").string(), " ", out.string()));
    results.clear();
    response.clear();
    if (!fs::exists(out)) return code;
    results = load_npz(out.string());
    const auto bytes = results.at("response.json").to_vector<uint8_t>();
    response.assign(bytes.begin(), bytes.end());
    return code;
  }
  bool says(const std::string& part) const { return response.find(part) != std::string::npos; }
  static std::string text_of(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const std::string tool = TANDEM_BINARY_DIR "/tools/op_replay";
  fs::path folder;
  Arrays results;
  std::string response;
};

TEST_F(OpReplay, OutputsAndGradients) {
  EXPECT_EQ(replay(R"([{"op": "mul", "inputs": ["x", "y"], "cotangents": ["dy"]},
                       {"op": "sum", "inputs": ["x"], "attrs": {"axes": [0], "keepdim": true}}])",
                   {{"x", tensor({1., 2.}, f64)},
                    {"y", tensor({3., 4.}, f64)},
                    {"dy", tensor({1., 10.}, f64)}}),
            0);
  EXPECT_EQ(testing::difference(results.at("0.out0"), tensor({3., 8.}, f64)), "");
  EXPECT_EQ(testing::difference(results.at("0.grad0"), tensor({3., 40.}, f64)), "");
  EXPECT_EQ(testing::difference(results.at("0.grad1"), tensor({1., 20.}, f64)), "");
  EXPECT_EQ(testing::difference(results.at("1.out0"), tensor({3.}, f64)), "");
}

TEST_F(OpReplay, OnlyTheGradientsThatAreAskedFor) {
  EXPECT_EQ(replay(R"({"op": "mul", "inputs": ["x", {"number": 3}], "cotangents": ["x"],
                       "grad_inputs": [false, false]})",
                   {{"x", tensor({1., 2.}, f64)}}),
            0);
  EXPECT_EQ(results.count("0.grad0"), 0u);
  EXPECT_EQ(testing::difference(results.at("0.out0"), tensor({3., 6.}, f64)), "");
}

TEST_F(OpReplay, StridedRepeatedAndScalarInputs) {
  EXPECT_EQ(replay(R"([{"op": "clone", "inputs":
                         [{"array": "x", "shape": [2, 2], "strides": [1, 3], "offset": 1}]},
                       {"op": "clone", "inputs":
                         [{"array": "x", "shape": [2, 2], "strides": [0, 1]}]},
                       {"op": "exp", "inputs": ["s"], "cotangents": ["s"]}])",
                   {{"x", tensor({0., 1., 2., 3., 4., 5.}, f64)}, {"s", full({}, 0.0, f64)}}),
            0);
  EXPECT_EQ(results.at("0.out0").to_vector<double>(), (std::vector<double>{1, 4, 2, 5}));
  EXPECT_EQ(results.at("1.out0").to_vector<double>(), (std::vector<double>{0, 1, 0, 1}));
  EXPECT_EQ(to_string(results.at("2.grad0").spec()), "f64[]");
}

TEST_F(OpReplay, HalfTypesAsBits) {
  EXPECT_EQ(replay(R"({"op": "add", "inputs": [{"array": "b", "dtype": "bf16"},
                                               {"array": "x", "dtype": "bf16"}]})",
                   {{"b", tensor({0x3f80, 0x4000}, i32)}, {"x", tensor({0.5, 1.5}, f64)}}),
            0);
  EXPECT_EQ(results.at("0.out0").dtype(), bf16);
  EXPECT_EQ(results.at("0.out0").to_vector<double>(), (std::vector<double>{1.5, 3.5}));
  EXPECT_TRUE(says(R"("dtype":"bf16")")) << response;
}

TEST_F(OpReplay, ARefusalIsAnAnswerAndTheOthersAreServed) {
  EXPECT_EQ(replay(R"([{"op": "softmax", "id": "a", "inputs": ["x"], "attrs": {"axis": 2}},
                       {"op": "exp", "inputs": ["x"]}])",
                   {{"x", zeros({3, 5}, f64)}}),
            1);
  EXPECT_TRUE(says(R"("id":"a","op":"softmax","ok":false)") ||
              says(R"("ok":false,"id":"a","op":"softmax")"))
      << response;
  EXPECT_TRUE(says(R"("error":"IndexError")")) << response;
  EXPECT_TRUE(says("softmax(axis=2): axis 2 is out of range [-2, 1] for shape [3, 5]")) << response;
  EXPECT_EQ(results.count("1.out0"), 1u);
}

TEST_F(OpReplay, BadRequestsAreAnswered) {
  const Arrays x{{"x", zeros({3}, f64)}};
  for (const char* bad :
       {R"({"op": "no_such_op", "inputs": ["x"]})", R"({"op": "exp", "inputs": ["y"]})",
        R"({"op": "exp", "inputs": [7]})", R"({"op": "exp"})", R"({"inputs": ["x"]})",
        R"({"op": "exp", "inputs": ["x"], "attrs": {"axis": 1}})",
        R"({"op": "sum", "inputs": ["x"], "attrs": {"axes": "all"}})",
        R"({"op": "sum", "inputs": ["x"], "attrs": {"keepdim": 3}})",
        R"({"op": "cast", "inputs": ["x"], "attrs": {"dtype": "f8"}})",
        R"({"op": "exp", "inputs": [{"array": "x", "shape": [4]}]})",
        R"({"op": "exp", "inputs": [{"array": "x", "shape": [2], "strides": [-1]}]})",
        R"({"op": "exp", "inputs": [{"array": "x", "shape": [2], "strides": [1, 1]}]})",
        R"({"op": "exp", "inputs": ["x"], "cotangents": ["y"]})", R"([3])"}) {
    EXPECT_EQ(replay(bad, x), 1) << bad;
    EXPECT_TRUE(says(R"("ok":false)")) << bad << response;
    EXPECT_TRUE(says(R"("message":")")) << bad << response;
  }
}

TEST_F(OpReplay, BadFilesEndWithCodeTwo) {
  EXPECT_EQ(replay("{", {}), 2);
  EXPECT_EQ(replay("3", {}), 2);
  EXPECT_EQ(run("/nowhere/in.npz /nowhere/out.npz"), 2);
  EXPECT_NE(log().find("op_replay: "), std::string::npos) << log();
  EXPECT_EQ(run("--no-such-option"), 2);
  EXPECT_EQ(run(""), 2);
  save_npz((folder / "bare.npz").string(), {{"x", zeros({1})}});
  EXPECT_EQ(run(cat((folder / "bare.npz").string(), " ", (folder / "out.npz").string())), 2);
  EXPECT_NE(log().find("request.json"), std::string::npos) << log();
}

TEST_F(OpReplay, TheRequestMayLieBesideTheArchive) {
  save_npz((folder / "in.npz").string(), {{"x", zeros({1}, f64)}});
  std::ofstream(folder / "in.json") << R"({"requests": [{"op": "exp", "inputs": ["x"]}]})";
  const std::string out = (folder / "out.npz").string();
  EXPECT_EQ(run(cat((folder / "in.npz").string(), " ", out)), 0);
  EXPECT_EQ(load_npz(out).at("0.out0").item<double>(), 1);
}

TEST_F(OpReplay, ListAndSamples) {
  EXPECT_EQ(run("--list"), 0);
  const std::string list = log();
  for (const char* part : {R"("name": "softmax")", R"("type": "ints")", R"("default": false)"})
    EXPECT_NE(list.find(part), std::string::npos) << part;
  EXPECT_EQ(run(cat("--op add --dump-samples ", (folder / "samples").string())), 0);
  const std::string sample = (folder / "samples/add.npz").string();
  EXPECT_GT(load_npz(sample).size(), 3u);
  // A dump is a request: what it asks can be replayed.
  EXPECT_EQ(run(cat(sample, " ", (folder / "out.npz").string())), 0);
}

}  // namespace
}  // namespace tandem
