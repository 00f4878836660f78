module github.com/slotkv/slotkv/examples/go

go 1.19
