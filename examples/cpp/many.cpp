/* c++ -std=c++17 examples/cpp/many.cpp $(pkg-config --cflags --libs slotkv) -pthread -o many && ./many [URI]
 *
 * Thousands of keys at once. The client sends each key to its owner, many in one frame; every key has its own result, in
 * the order of the keys. And thousands of calls at once, each with a future. */

#include "example.hpp"

#include <vector>

int main(int count, char **arguments) {
    slotkv::Client client = connected(count, arguments, "example-many");
    std::vector<std::pair<std::string, std::string>> records;
    std::vector<std::string> keys;
    for (int number = 0; number < 10'000; number++) {
        records.emplace_back("user:" + std::to_string(number), "value " + std::to_string(number));
        keys.push_back(records.back().first);
    }
    (void)client.remove_many(keys);

    slotkv::Result puts = client.put_many(records);
    for (const slotkv_result_t &put : puts.results()) {
        EXPECT(put.status == SLOTKV_STATUS_CREATED);
    }
    slotkv::Result values = client.get_many(keys);
    for (std::size_t at = 0; at < records.size(); at++) {
        EXPECT(slotkv::view(values.results()[at].value) == records[at].second);
    }

    // The same by a queue: every key a call of its own, and they still travel together.
    slotkv::Queue queue(client);
    std::vector<slotkv::Operation> gets;
    for (const std::string &key : keys) {
        gets.push_back(slotkv::Operation::get(key));
    }
    std::vector<std::future<slotkv::Result>> futures = queue.submit_many(gets);
    for (std::size_t at = 0; at < records.size(); at++) {
        EXPECT(futures[at].get().value() == records[at].second);
    }

    // One key past its limit spoils nothing for the others.
    std::vector<std::pair<std::string, std::string>> three = {
        {"short", "a"}, {std::string(40'000, 'x'), "b"}, {"also short", "c"}};
    try {
        (void)client.put_many(three);
        EXPECT(!"one of them is past its limit");
    } catch (const slotkv::Error &error) {
        slotkv::Span<slotkv_result_t> results = error.result().results();
        EXPECT(results[0].code == SLOTKV_CODE_OK && results[2].code == SLOTKV_CODE_OK);
        EXPECT(results[1].code == SLOTKV_CODE_TOO_LARGE);
        EXPECT(results[1].error->outcome == SLOTKV_OUTCOME_FAILED);
        std::printf("refused: %s\n", results[1].error->message);
    }

    keys.insert(keys.end(), {"short", "also short"});
    (void)client.remove_many(keys);
    std::printf("many: %zu keys written, read and deleted\n", records.size());
}
