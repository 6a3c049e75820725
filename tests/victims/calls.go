// calls OPENED READ PORT: as calls.c does, by Go's own packages on threads of its runtime.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
)

const threads, times = 4, 10

var ops = [...]string{"open", "read", "connect"}

// seen counts the results of each operation by their errno.
type seen [len(ops)]map[int]int

func errno(err error) int {
	var number syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &number):
		return int(number)
	}
	return -1
}

func work(opened string, read *os.File, port string) (own seen) {
	for op := range own {
		own[op] = map[int]int{}
	}
	for i := 0; i < times; i++ {
		file, err := os.Open(opened)
		own[0][errno(err)]++
		if err == nil {
			file.Close()
		}
		_, err = read.ReadAt(make([]byte, 1), 0)
		own[1][errno(err)]++
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		own[2][errno(err)]++
		if err == nil {
			conn.Close()
		}
	}
	return own
}

func say(all []seen) {
	for op, name := range ops {
		sum := map[int]int{}
		for _, own := range all {
			for number, count := range own[op] {
				sum[number] += count
			}
		}
		var words []string
		for number, count := range sum {
			words = append(words, fmt.Sprintf("%d:%d", number, count))
		}
		sort.Strings(words)
		if op > 0 {
			fmt.Print(" ")
		}
		fmt.Print(name, "=", strings.Join(words, ","))
	}
	fmt.Println()
}

func main() {
	read, err := os.Open(os.Args[2])
	if err != nil {
		os.Exit(1)
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		all := make([]seen, threads)
		var wait sync.WaitGroup
		for thread := range all {
			wait.Add(1)
			go func(own *seen) {
				defer wait.Done()
				// Not one thread after the other, as a single processor would have it.
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				*own = work(os.Args[1], read, os.Args[3])
			}(&all[thread])
		}
		wait.Wait()
		say(all)
	}
}
