await Warrend.main()
