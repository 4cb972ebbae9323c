Warren.main()
