import ArgumentParser

Warren.main()
